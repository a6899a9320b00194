"""Plugins as third parties ship them: processes of their own, behind a unix socket.

process    start one, let it misbehave, see what it was asked
server     the process: HTTP, the journal of calls, misbehaviour
kinds      what each kind answers
"""
