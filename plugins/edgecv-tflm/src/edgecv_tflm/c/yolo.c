typedef struct {
  int32_t rows, columns, count;
  const float (*halves)[2];
} anchor_layer;

/* Half of the boxes' width and height, where their exponential is 1. */
static const float halves[][2] = {
$halves
};

static const anchor_layer layers[] = {
$layers
};

/* Find an anchor's grid and cell, and the place of its box in the cell. */
static int32_t find_anchor(int32_t anchor, int32_t *cell, int32_t *box) {
  int32_t grid = 0;
  while (anchor >= layers[grid].rows * layers[grid].columns * layers[grid].count) {
    anchor -= layers[grid].rows * layers[grid].columns * layers[grid].count;
    ++grid;
  }
  *cell = anchor / layers[grid].count;
  *box = anchor % layers[grid].count;
  return grid;
}

static void anchor_box(const ${p}_heads *heads, int32_t anchor, float *box) {
  int32_t cell, place;
  const int32_t grid = find_anchor(anchor, &cell, &place);
  const anchor_layer *layer = layers + grid;
  const int32_t at = $at;
  const float columns = (float)layer->columns, rows = (float)layer->rows;
  const float x = logistic(number(heads, grid, at)) * (1.0f / columns) + (float)(cell % layer->columns) / columns;
  const float y = logistic(number(heads, grid, at + 1)) * (1.0f / rows) + (float)(cell / layer->columns) / rows;
  const float half_width = expf(number(heads, grid, at + 2)) * layer->halves[place][0];
  const float half_height = expf(number(heads, grid, at + 3)) * layer->halves[place][1];
  set_box(box, x, y, half_width, half_height);
}

static void class_scores(const ${p}_heads *heads, int32_t anchor, float *scores) {
  int32_t cell, place, kind;
  const int32_t grid = find_anchor(anchor, &cell, &place);
  const anchor_layer *layer = layers + grid;
  const int32_t at = $at, first = $first;
  const float objectness = logistic(number(heads, grid, at + 4));
  (void)layer;
$scores
}
