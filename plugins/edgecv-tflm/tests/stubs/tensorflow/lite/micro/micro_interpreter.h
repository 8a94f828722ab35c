// A stand-in of our own for TensorFlow Lite Micro's header: the declarations that the generated main.cc uses. Outputs are
// what the real interpreter answered before: files output_0, output_1, ... in the current folder.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tensorflow/lite/schema/schema_generated.h"

typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

typedef union TfLitePtrUnion {
  int32_t* i32;
  int64_t* i64;
  float* f;
  bool* b;
  uint8_t* uint8;
  int8_t* int8;
} TfLitePtrUnion;

typedef struct TfLiteTensor {
  TfLitePtrUnion data;
} TfLiteTensor;

namespace tflite {

class MicroOpResolver {
 public:
  virtual ~MicroOpResolver() {}
};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t* tensor_arena, size_t tensor_arena_size)
      : arena_(tensor_arena), size_(tensor_arena_size) {}

  TfLiteStatus AllocateTensors() { return reinterpret_cast<uintptr_t>(arena_) % 16 == 0 ? kTfLiteOk : kTfLiteError; }

  TfLiteStatus Invoke() {
    for (size_t at = 0; at < kMost; ++at) {
      char name[16];
      snprintf(name, sizeof(name), "output_%d", static_cast<int>(at));
      FILE* file = fopen(name, "rb");
      if (file == nullptr) return at > 0 ? kTfLiteOk : kTfLiteError;
      if (fread(bytes_[at], 1, sizeof(bytes_[at]), file) == 0) return kTfLiteError;
      fclose(file);
    }
    return kTfLiteOk;
  }

  TfLiteTensor* input(size_t) { return At(&input_, given_); }
  TfLiteTensor* output(size_t index) { return At(&outputs_[index], bytes_[index]); }
  size_t arena_used_bytes() const { return size_; }

 private:
  static const size_t kMost = 4;
  static const size_t kBytes = 1 << 18;

  static TfLiteTensor* At(TfLiteTensor* tensor, uint8_t* bytes) {
    tensor->data.uint8 = bytes;
    return tensor;
  }

  uint8_t* arena_;
  size_t size_;
  TfLiteTensor input_;
  TfLiteTensor outputs_[kMost];
  alignas(16) uint8_t given_[kBytes];
  alignas(16) uint8_t bytes_[kMost][kBytes];
};

}  // namespace tflite
