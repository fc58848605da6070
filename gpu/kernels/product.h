// Products of matrices as chains of multiply-adds (numerics/src/kernels/{chain,dense}.rs), and sums
// of columns.

#define TILE 64
#define STEPS 16
#define SIDE 16
#define EACH 4

// An operand or a result that is a matrix: element (i, j) lies at i·first + j·second.
// Or it is what the taps of a convolution see of images: i is a position (image, y, x) of a grid of
// down × right positions, j a tap and channel (kh, kw, c) of a window of `wide` columns. Positions of
// the images (height × width × channels) are y·stride + kh + top and x·stride + kw + left; outside of
// them is a zero.
typedef struct {
    int first, second;
    int down, right, wide, stride, top, left, height, width, channels;
} Place;

#define IMAGES_ARGUMENTS(NAME)                                                                             \
    int NAME##_first, int NAME##_second, int NAME##_down, int NAME##_right, int NAME##_wide, int NAME##_stride, \
        int NAME##_top, int NAME##_left, int NAME##_height, int NAME##_width, int NAME##_channels
#define IMAGES(NAME)                                                                                       \
    Place NAME##_place;                                                                                    \
    NAME##_place.first = NAME##_first;                                                                     \
    NAME##_place.second = NAME##_second;                                                                   \
    NAME##_place.down = NAME##_down;                                                                       \
    NAME##_place.right = NAME##_right;                                                                     \
    NAME##_place.wide = NAME##_wide;                                                                       \
    NAME##_place.stride = NAME##_stride;                                                                   \
    NAME##_place.top = NAME##_top;                                                                         \
    NAME##_place.left = NAME##_left;                                                                       \
    NAME##_place.height = NAME##_height;                                                                   \
    NAME##_place.width = NAME##_width;                                                                     \
    NAME##_place.channels = NAME##_channels;

// Where element (i, j) lies; -1 outside of the images. A matrix has no channels.
INLINE int place_of(Place p, int i, int j)
{
    if (p.channels == 0)
        return i * p.first + j * p.second;
    int x = i % p.right, y = i / p.right % p.down, image = i / p.right / p.down;
    int channel = j % p.channels, kw = j / p.channels % p.wide, kh = j / p.channels / p.wide;
    y = y * p.stride + kh + p.top;
    x = x * p.stride + kw + p.left;
    if (y < 0 || y >= p.height || x < 0 || x >= p.width)
        return -1;
    return ((image * p.height + y) * p.width + x) * p.channels + channel;
}

// c[m][n] = chains of fma(a, b, ·) over k ascending, cut into blocks of `block` steps and parts of
// `part`; blocks begin anew with each part. The first block starts from `start` (of a column), the
// others from 0. The blocks of a part are added up in order. The first part is stored as `store`
// says, the others are added to it in order; then the activation. Of `transposed` images in the left
// operand, a row is a tap and a step a position.
//
// A group of SIDE × SIDE items owns a tile of TILE × TILE outputs, an item EACH × EACH of them. Several
// products of one shape lie `_next` apart.
KERNEL product(GLOBAL const float *a, IMAGES_ARGUMENTS(a), int transposed, int a_next, GLOBAL const float *b,
               int b_first, int b_second, int b_next, GLOBAL const float *start, int has_start, GLOBAL float *c,
               IMAGES_ARGUMENTS(c), int c_next, int m, int n, int k, int block, int part, int store, int activation)
{
    LOCAL float rows[STEPS][TILE + 1];
    LOCAL float columns[STEPS][TILE + 1];
    IMAGES(a)
    IMAGES(c)
    int tx = ITEM(0), ty = ITEM(1), item = ty * SIDE + tx;
    int tiles = (m + TILE - 1) / TILE, which = GROUP(0) / tiles;
    int row0 = GROUP(0) % tiles * TILE, column0 = GROUP(1) * TILE;
    a += which * a_next;
    b += which * b_next;
    c += which * c_next;
    // Neighbouring items read neighbouring numbers, whichever way an operand lies.
    int a_by_step = transposed ? 0 : a_channels ? 1 : a_second == 1, b_by_step = b_first == 1 && b_second != 1;
    float chain[EACH][EACH], sum[EACH][EACH], total[EACH][EACH];
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) {
            int column = column0 + tx + j * SIDE;
            chain[i][j] = has_start && column < n ? start[column] : 0.0f;
            sum[i][j] = 0.0f;
            total[i][j] = 0.0f;
        }
    int first_block = 1, first_part = 1;
    int from = 0, end_of_part = part < k ? part : k, end_of_block = block < end_of_part ? block : end_of_part;
    // Once even where there are no steps: then an output is its start.
    do {
        int here = end_of_block - from < STEPS ? end_of_block - from : STEPS;
        for (int e = item; e < STEPS * TILE; e += SIDE * SIDE) {
            int q = a_by_step ? e % STEPS : e / TILE, r = a_by_step ? e / STEPS : e % TILE;
            int place = -1;
            if (q < here && row0 + r < m)
                place = transposed ? place_of(a_place, from + q, row0 + r) : place_of(a_place, row0 + r, from + q);
            rows[q][r] = place >= 0 ? a[place] : 0.0f;
            q = b_by_step ? e % STEPS : e / TILE;
            r = b_by_step ? e / STEPS : e % TILE;
            columns[q][r] = q < here && column0 + r < n ? b[(from + q) * b_first + (column0 + r) * b_second] : 0.0f;
        }
        SYNC;
        for (int q = 0; q < here; q++)
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++)
                    chain[i][j] = FMA(rows[q][ty + i * SIDE], columns[q][tx + j * SIDE], chain[i][j]);
        SYNC;
        from += here;
        if (from == end_of_block) {
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++) {
                    sum[i][j] = first_block ? chain[i][j] : sum[i][j] + chain[i][j];
                    chain[i][j] = 0.0f;
                }
            first_block = 0;
            if (from == end_of_part) {
                for (int i = 0; i < EACH; i++)
                    for (int j = 0; j < EACH; j++) {
                        int row = row0 + ty + i * SIDE, column = column0 + tx + j * SIDE;
                        if (!first_part)
                            total[i][j] = total[i][j] + sum[i][j];
                        else if (store == SET)
                            total[i][j] = sum[i][j];
                        else if (store == ZERO_PLUS)
                            total[i][j] = 0.0f + sum[i][j];
                        else
                            total[i][j] = (row < m && column < n ? c[place_of(c_place, row, column)] : 0.0f) + sum[i][j];
                    }
                first_block = 1;
                first_part = 0;
                end_of_part = k - from < part ? k : from + part;
            }
            end_of_block = end_of_part - from < block ? end_of_part : from + block;
        }
    } while (from < k);
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) {
            int row = row0 + ty + i * SIDE, column = column0 + tx + j * SIDE;
            if (row < m && column < n)
                c[place_of(c_place, row, column)] = activated(activation, total[i][j]);
        }
}

// to[width] (+)= the sums over all rows of values[rows][width]: blocks of `block` rows, each a chain
// of additions from 0, added up in order from 0.
KERNEL column_sums(GLOBAL const float *values, GLOBAL float *to, int rows, int width, int block, int store)
{
    int column = ELEMENT;
    if (column >= width)
        return;
    float total = 0.0f;
    for (int from = 0; from < rows; from += block) {
        int end = from + block < rows ? from + block : rows;
        float sum = 0.0f;
        for (int row = from; row < end; row++)
            sum = sum + values[row * width + column];
        total = total + sum;
    }
    to[column] = (store == ADD ? to[column] : 0.0f) + total;
}

// The weights of a class of input positions (numerics/src/kernels/conv/input_gradient.rs): of
// w[..][wide][channels][outputs], taps from (first_h, first_w) on, descending by `stride`, as
// to[tap row, tap column, output][channels].
KERNEL weights_of_class(GLOBAL const float *w, GLOBAL float *to, int n, int wide, int channels, int outputs,
                        int first_h, int first_w, int taps_w, int stride)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, output = i / channels % outputs, tap = i / channels / outputs;
    int kh = first_h - tap / taps_w * stride, kw = first_w - tap % taps_w * stride;
    to[i] = w[((kh * wide + kw) * channels + channel) * outputs + output];
}
