"""An upgrade: a new master, of the code as it is on disk now, takes over from the old one."""
