// A stand-in of our own for TensorFlow Lite Micro's header.
#pragma once

namespace tflite {

inline void InitializeTarget() {}

}  // namespace tflite
