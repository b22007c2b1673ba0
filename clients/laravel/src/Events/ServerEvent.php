<?php

namespace Yamabiko\Laravel\Events;

/** Every event of the server. Laravel's dispatcher calls the listeners of an interface, but not those of a parent class. */
interface ServerEvent {}
