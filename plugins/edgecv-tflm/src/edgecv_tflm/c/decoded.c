static void anchor_box(const ${p}_heads *heads, int32_t anchor, float *box) {
  int32_t side;
  for (side = 0; side < 4; ++side) box[side] = number(heads, 0, 4 * anchor + side);
}

static void class_scores(const ${p}_heads *heads, int32_t anchor, float *scores) {
  int32_t kind;
  for (kind = 0; kind < ${P}_CLASSES; ++kind) scores[kind] = number(heads, 1, ${P}_CLASSES * anchor + kind);
}
