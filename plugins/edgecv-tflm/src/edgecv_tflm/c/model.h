/* An int8 network for TensorFlow Lite Micro, written by edgecv-tflm. */
#ifndef ${P}_MODEL_H_
#define ${P}_MODEL_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the model, in flash. */
#define ${P}_MODEL_BYTES $model_bytes
/* Bytes of the tensor arena, in RAM, as the reference kernels take on a 64-bit host. Kernels of a vendor's library may
 * need more: MicroInterpreter::arena_used_bytes() says what they take. */
#ifndef ${P}_ARENA_BYTES
#define ${P}_ARENA_BYTES $arena_bytes
#endif

extern const unsigned char ${p}_model[${P}_MODEL_BYTES];

$input
$outputs
$labels
#ifdef __cplusplus
}
#endif

#endif
