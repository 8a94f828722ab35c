void ${p}_decode(const ${p}_heads *heads, float *boxes, float *scores) {
  int32_t anchor;
  for (anchor = 0; anchor < ${P}_ANCHORS; ++anchor) {
    anchor_box(heads, anchor, boxes + 4 * anchor);
    class_scores(heads, anchor, scores + ${P}_CLASSES * anchor);
  }
}
