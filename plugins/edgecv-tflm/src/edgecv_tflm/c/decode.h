#define ${P}_ANCHORS $anchors
#define ${P}_CLASSES $classes

/* The outputs of the graph, in its order. */
typedef struct {
$fields
} ${p}_heads;

/* Decode all anchors: boxes[${P}_ANCHORS * 4] and
 * scores[${P}_ANCHORS * ${P}_CLASSES]. */
void ${p}_decode(const ${p}_heads *heads, float *boxes, float *scores);
