"""RabbitMQ: all code that touches private parts of oslo.messaging's driver.

Here: our consumer, its connection, and why the broker takes no call. Never: the unix:// bus.
"""
