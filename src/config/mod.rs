//! The settings of all rooms, gathered in layers. Rooms never import this one.
