"""Starts a program for each connection to a port of 127.0.0.1, with the connection as its input and output."""

import socket
import subprocess
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
started = []
while True:
    connection, _ = listener.accept()
    with connection:
        started.append(subprocess.Popen(sys.argv[2:], stdin=connection, stdout=connection))
    started = [process for process in started if process.poll() is None]
