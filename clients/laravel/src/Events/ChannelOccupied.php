<?php

namespace Yamabiko\Laravel\Events;

/** The first connection is on the channel, on all nodes. */
final class ChannelOccupied extends ChannelEvent {}
