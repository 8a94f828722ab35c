static int is_number(float x) { return x - x == 0.0f; }

/* Whether a pair goes behind another one; of equal scores the later anchor, then class, does. */
static int is_behind(const ${p}_workspace *work, int32_t one, int32_t other) {
  if (work->scores[one] < work->scores[other]) return 1;
  return work->scores[one] == work->scores[other] && work->pairs[one] > work->pairs[other];
}

static void swap(${p}_workspace *work, int32_t one, int32_t other) {
  const float score = work->scores[one];
  const int32_t pair = work->pairs[one];
  work->scores[one] = work->scores[other];
  work->pairs[one] = work->pairs[other];
  work->scores[other] = score;
  work->pairs[other] = pair;
}

/* The candidates are a heap with the worst one on top. */
static void sink(${p}_workspace *work, int32_t at, int32_t count) {
  for (;;) {
    int32_t below = 2 * at + 1;
    if (below >= count) return;
    if (below + 1 < count && is_behind(work, below + 1, below)) ++below;
    if (!is_behind(work, below, at)) return;
    swap(work, at, below);
    at = below;
  }
}

static void rise(${p}_workspace *work, int32_t at) {
  while (at > 0 && is_behind(work, at, (at - 1) / 2)) {
    swap(work, at, (at - 1) / 2);
    at = (at - 1) / 2;
  }
}

/* Take a pair among the candidates, in place of the worst one where there is no room; return how many there are. */
static int32_t offer(${p}_workspace *work, int32_t count, float score, int32_t pair) {
  if (count < ${P}_CANDIDATES) {
    work->scores[count] = score;
    work->pairs[count] = pair;
    rise(work, count);
    return count + 1;
  }
  if (score > work->scores[0]) { /* pairs come in order, so that an equal one goes behind */
    work->scores[0] = score;
    work->pairs[0] = pair;
    sink(work, 0, count);
  }
  return count;
}

static int is_usable(float score) { return is_number(score) && score > ${P}_SCORE_THRESHOLD; }

static int32_t offer_anchor(const ${p}_heads *heads, ${p}_workspace *work, int32_t count, int32_t anchor) {
  float scores[${P}_CLASSES];
  float box[4];
  int32_t kind, found = 0;
  class_scores(heads, anchor, scores);
  for (kind = 0; kind < ${P}_CLASSES; ++kind) found += is_usable(scores[kind]);
  if (found == 0) return count;
  anchor_box(heads, anchor, box);
  if (!is_number(box[0]) || !is_number(box[1]) || !is_number(box[2]) || !is_number(box[3])) return count;
$offer
  return count;
}

/* Find the candidates, best first; return how many there are. */
static int32_t find_candidates(const ${p}_heads *heads, ${p}_workspace *work) {
  int32_t anchor, left, count = 0;
  for (anchor = 0; anchor < ${P}_ANCHORS; ++anchor) count = offer_anchor(heads, work, count, anchor);
  for (left = count - 1; left > 0; --left) { /* the worst one goes to the end */
    swap(work, 0, left);
    sink(work, 0, left);
  }
  for (left = 0; left < count; ++left) anchor_box(heads, work->pairs[left] / ${P}_CLASSES, work->boxes[left]);
  return count;
}

static float least(float a, float b) { return a < b ? a : b; }
static float most(float a, float b) { return a > b ? a : b; }

static float area(const float *box) { return most(box[2] - box[0], 0.0f) * most(box[3] - box[1], 0.0f); }

static float overlap(const float *one, const float *other) {
  const float width = most(least(one[2], other[2]) - most(one[0], other[0]), 0.0f);
  const float height = most(least(one[3], other[3]) - most(one[1], other[1]), 0.0f);
  const float common = width * height;
  return common > 0.0f ? common / (area(one) + area(other) - common) : 0.0f;
}

int32_t ${p}_detect(const ${p}_heads *heads, ${p}_workspace *workspace, ${p}_detection *found) {
  float *const scores = workspace->scores;
  const int32_t count = find_candidates(heads, workspace);
  int32_t chosen = 0, best, each;
  while (chosen < ${P}_MAX_DETECTIONS) {
    const float *box;
    best = 0;
    for (each = 1; each < count; ++each) {
      if (scores[each] > scores[best]) best = each;
    }
    if (count == 0 || !(scores[best] > ${P}_SCORE_THRESHOLD)) break;
    box = workspace->boxes[best];
    memcpy(found[chosen].box, box, sizeof found[chosen].box);
    found[chosen].score = scores[best];
    found[chosen].class_id = workspace->pairs[best] % ${P}_CLASSES;
    scores[best] = 0.0f;
    for (each = 0; each < count; ++each) {
      float common;
      if (!(scores[each] > 0.0f)) continue;
$rivals      common = overlap(box, workspace->boxes[each]);
$suppress
    }
    ++chosen;
  }
  return chosen;
}
