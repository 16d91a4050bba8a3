"""The commands that look at a whole store from outside its engines: check, verify, doctor, stats and snapshot."""
