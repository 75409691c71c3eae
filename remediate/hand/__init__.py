"""The program that repairs a host: sent over ssh to the host's own Python, standard library only, 3.6 and later."""
