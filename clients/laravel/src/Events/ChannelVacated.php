<?php

namespace Yamabiko\Laravel\Events;

/** The last connection has left the channel, on all nodes. The kind needs `presence`. */
final class ChannelVacated extends ChannelEvent {}
