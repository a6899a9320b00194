"""The cluster's store on etcd: the child process, its client, the replicated copy, upkeep."""
