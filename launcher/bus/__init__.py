"""The unix:// transport of oslo.messaging: an embedded bus for the processes of one host."""
