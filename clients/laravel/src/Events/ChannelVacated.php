<?php

namespace Yamabiko\Laravel\Events;

/** The last connection has left the channel, on all nodes. */
final class ChannelVacated extends ChannelEvent {}
