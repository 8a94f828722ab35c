/* How the network is run; written by edgecv-tflm as an example to take over. */
#include <string.h>

#include "${p}_model.h"
$includes#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[${P}_ARENA_BYTES];
$memory
/* Exactly the operators that the network has. */
using Resolver = tflite::MicroMutableOpResolver<$count>;

TfLiteStatus RegisterOperators(Resolver& resolver) {
$operators
  return kTfLiteOk;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(${p}_model);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("The model has schema version %d, not %d.", static_cast<int>(model->version()), TFLITE_SCHEMA_VERSION);
    return 1;
  }
  static Resolver resolver;
  if (RegisterOperators(resolver) != kTfLiteOk) return 1;
  static tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("The arena of %d bytes is too small.", static_cast<int>(sizeof(arena)));
    return 1;
  }
  MicroPrintf("%d of %d bytes of the arena are taken.", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(sizeof(arena)));

  $input

  if (interpreter.Invoke() != kTfLiteOk) return 1;

$answers
  return 0;
}
