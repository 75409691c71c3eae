"""What is sent to a host to see which parts of a cloud are there; standard library only, Python 3.6 on."""
