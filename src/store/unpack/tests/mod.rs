//! Whole layers, benign and hostile, unpacked for real.

mod archive;
mod bench;
mod benign;
mod differential;
mod hostile;
mod limits;
mod model;
mod worker;
