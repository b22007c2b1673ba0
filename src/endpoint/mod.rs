//! The protocols on their transports. Each endpoint carries out what its protocol asks for, and exports its routes. Endpoints do
//! not import each other.

pub mod native;
pub mod pusher;
