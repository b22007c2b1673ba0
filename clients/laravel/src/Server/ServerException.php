<?php

namespace Yamabiko\Laravel\Server;

use RuntimeException;

/** The server cannot be found, downloaded or started. The message says what to do. */
final class ServerException extends RuntimeException {}
