/* Written by edgecv-tflm. */
#include "${p}_model.h"

/* FlatBuffers are read in place: the numbers in them have to be aligned. */
alignas(16) extern const unsigned char ${p}_model[${P}_MODEL_BYTES] = {
$bytes
};
$labels
