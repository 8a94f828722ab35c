/* The largest number of detections of a picture. */
#define ${P}_MAX_DETECTIONS $most
/* Pairs of box and class that suppression looks at, the best ones. */
#define ${P}_CANDIDATES $candidates
/* A pair is found where it scores above this; boxes of a class overlap by this at most. */
#ifndef ${P}_SCORE_THRESHOLD
#define ${P}_SCORE_THRESHOLD $score_threshold
#endif
#ifndef ${P}_IOU_THRESHOLD
#define ${P}_IOU_THRESHOLD $iou_threshold
#endif

/* What was found: x1, y1, x2, y2 in 0 to 1 of the input. */
typedef struct {
  float box[4];
  float score;
  int32_t class_id;
} ${p}_detection;

/* Memory that ${p}_detect() works in; nothing in it has to be kept. */
typedef struct {
  float scores[${P}_CANDIDATES];
  int32_t pairs[${P}_CANDIDATES];
  float boxes[${P}_CANDIDATES][4];
} ${p}_workspace;

/* Decode and suppress. found has room for ${P}_MAX_DETECTIONS.
 * Returns how many there are, best first. */
int32_t ${p}_detect(const ${p}_heads *heads, ${p}_workspace *workspace,
    ${p}_detection *found);
