"""What the programs import in main(): much that their modules do not."""

import wave
import xmlrpc.server

MODULES = (wave, xmlrpc.server)
