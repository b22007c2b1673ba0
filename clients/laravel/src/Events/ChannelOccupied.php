<?php

namespace Yamabiko\Laravel\Events;

/** The first connection is on the channel, on all nodes. The kind needs `presence`. */
final class ChannelOccupied extends ChannelEvent {}
