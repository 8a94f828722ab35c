/* One anchor of a cell: its centre in cells, what encodings are multiplied by, half of its size. */
typedef struct {
  float x, y;
  float shift_x, shift_y;
  float half_width, half_height;
} anchor_shape;

typedef struct {
  int32_t rows, columns, count;
  const anchor_shape *shapes;
} anchor_layer;

static const anchor_shape shapes[] = {
$shapes
};

static const anchor_layer layers[] = {
$layers
};

static void anchor_box(const ${p}_heads *heads, int32_t anchor, float *box) {
  const anchor_layer *layer = layers;
  const anchor_shape *shape;
  int32_t cell, place = anchor;
  float x, y, half_width, half_height;
  while (place >= layer->rows * layer->columns * layer->count) {
    place -= layer->rows * layer->columns * layer->count;
    ++layer;
  }
  cell = place / layer->count;
  shape = layer->shapes + place % layer->count;
  x = ((float)(cell % layer->columns) + shape->x) / (float)layer->columns;
  y = ((float)(cell / layer->columns) + shape->y) / (float)layer->rows;
  x = number(heads, 0, 4 * anchor + $at_x) * shape->shift_x + x;
  y = number(heads, 0, 4 * anchor + $at_y) * shape->shift_y + y;
  half_width = expf(number(heads, 0, 4 * anchor + $at_width) * $variance_width) * shape->half_width;
  half_height = expf(number(heads, 0, 4 * anchor + $at_height) * $variance_height) * shape->half_height;
  set_box(box, x, y, half_width, half_height);
}

static void class_scores(const ${p}_heads *heads, int32_t anchor, float *scores) {
$scores
}
