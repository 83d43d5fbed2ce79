"""The unix:// transport of oslo.messaging: an embedded bus for the processes of one host.

Here: queues, messages, replies, and the driver that oslo.messaging loads. Never: RabbitMQ.
"""
