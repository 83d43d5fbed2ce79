"""What tests share: waiting, real processes, a terminal, a notify socket, a RabbitMQ node."""
