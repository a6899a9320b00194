"""How nodes talk to each other: HTTP/1.1 and WebSockets over mutual TLS, on port 2377 of each."""
