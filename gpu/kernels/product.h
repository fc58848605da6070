// Products of matrices as chains of multiply-adds (numerics/src/kernels/{chain,dense}.rs), and sums
// of columns.

// A group owns a tile of ROWS × COLUMNS outputs, and reads the operands STEPS steps at a time. The work
// has shares: of the outputs, EACH_ROWS × EACH_COLUMNS of them; of what is read, eight numbers of the
// left operand and four of the right one. An item of a GPU has one of each; the only item of a CPU's
// group, which is a thread there, has all.
#define ROWS 128
#define COLUMNS 64
#define EACH_COLUMNS 8
#if ITEMS == 1
#define STEPS 32
#define EACH_ROWS 8
#define EVERY_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define STEPS 16
#define EACH_ROWS 4
#define EVERY_ROW(DO) DO(0) DO(1) DO(2) DO(3)
#endif
#define OUTPUTS (ROWS / EACH_ROWS * COLUMNS / EACH_COLUMNS / ITEMS)
#define READS (ROWS * STEPS / 8 / ITEMS)
#define OF_EACH(all, own, share) for (int own = 0, share = ITEM(0); own < all; own++, share += ITEMS)

// An operand or a result that is a matrix: element (i, j) lies at i·first + j·second.
// Or it is what the taps of a convolution see of images: i is a position (image, y, x) of a grid of
// down × right positions, j a tap and channel (kh, kw, c) of a window of `wide` columns. Positions of
// the images (height × width × channels) are y·stride + kh + top and x·stride + kw + left; outside of
// them is a zero.
typedef struct {
    int first, second;
    int down, right, wide, stride, top, left, height, width, channels;
} Place;

#define PLACE_ARGUMENTS(NAME)                                                                              \
    int NAME##_first, int NAME##_second, int NAME##_down, int NAME##_right, int NAME##_wide, int NAME##_stride, \
        int NAME##_top, int NAME##_left, int NAME##_height, int NAME##_width, int NAME##_channels
#define PLACE(NAME)                                                                                        \
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

// A number in three digits, the lower two below `middles` and `lows`. A position of images (image, y, x)
// is one, and so is a tap of a window (kh, kw, channel).
typedef struct {
    int high, middle, low;
} Count;

INLINE Count count_of(int i, int middles, int lows)
{
    Count count;
    count.low = i % lows;
    count.middle = i / lows % middles;
    count.high = i / lows / middles;
    return count;
}

// Without a division, as `by` is small.
INLINE Count counted_on(Count count, int by, int middles, int lows)
{
    count.low += by;
    while (count.low >= lows) {
        count.low -= lows;
        count.middle++;
    }
    while (count.middle >= middles) {
        count.middle -= middles;
        count.high++;
    }
    return count;
}

#define POSITION_OF(p, i) count_of(i, (p).down, (p).right)
#define LATER_POSITION(p, at, by) counted_on(at, by, (p).down, (p).right)
#define TAP_OF(p, j) count_of(j, (p).wide, (p).channels)
#define LATER_TAP(p, tap, by) counted_on(tap, by, (p).wide, (p).channels)

// Where a tap sees a position; -1 outside of the images.
INLINE int place_in(Place p, Count at, Count tap)
{
    int y = at.middle * p.stride + tap.high + p.top, x = at.low * p.stride + tap.middle + p.left;
    if (y < 0 || y >= p.height || x < 0 || x >= p.width)
        return -1;
    return ((at.high * p.height + y) * p.width + x) * p.channels + tap.low;
}

// Where element (i, j) lies; -1 outside of the images. A matrix has no channels.
INLINE int place_of(Place p, int i, int j)
{
    if (p.channels == 0)
        return i * p.first + j * p.second;
    return place_in(p, POSITION_OF(p, i), TAP_OF(p, j));
}

// Steps that are no part of a block: fma(OF_LEFT, OF_RIGHT, x) is x for every x, zeros of both signs
// among them.
#define OF_LEFT (-0.0f)
#define OF_RIGHT (0.0f)

// Four numbers of an operand that lie side by side, where `vector` says so; of them the first `count`
// are there.
INLINE void side_by_side(GLOBAL const float *from, int place, int vector, int count, float other, float *to)
{
    if (vector && count >= 4)
        LOAD4(from + place, to);
    else
        for (int e = 0; e < 4; e++)
            to[e] = e < count ? from[place + e] : other;
}

// c[m][n] = chains of fma(a, b, ·) over k ascending, cut into blocks of `block` steps and parts of
// `part`; blocks begin anew with each part. The first block starts from `start` (of a column), the
// others from 0. The blocks of a part are added up in order. The first part is stored as `store`
// says, the others are added to it in order; then the activation.
//
// Several products of one shape lie `_next` apart. With `pieces`, a product is cut into so many, each
// a block (`blocks` of which make a part) or a part (`blocks` is 1): they lie m·n apart in c, and
// `add_pieces` adds them up.
#define PRODUCT_ARGUMENTS                                                                                  \
    GLOBAL const float *a, PLACE_ARGUMENTS(a), int a_next, GLOBAL const float *b, int b_first, int b_second, \
        int b_next, GLOBAL const float *start, int has_start, GLOBAL float *c, PLACE_ARGUMENTS(c), int c_next, int m, \
        int n, int k, int block, int part, int pieces, int blocks, int store, int activation

// What is known of a product when it is compiled: whether the left operand is what taps see of images;
// whether neighbours in it lie in a column (of images: a row is a tap, and a step a position) and not
// in a row; whether neighbours in the right operand lie in a column.
#define PRODUCT(IMAGES, LEFT_COLUMNS, RIGHT_COLUMNS)                                                       \
    LOCAL ALIGNED float rows[STEPS * ROWS];                                                                \
    LOCAL ALIGNED float columns[STEPS * COLUMNS];                                                          \
    PLACE(a)                                                                                               \
    PLACE(c)                                                                                               \
    tile(IMAGES, LEFT_COLUMNS, RIGHT_COLUMNS, rows, columns, a, a_place, a_next, b, b_first, b_second, b_next, start, \
         has_start, c, c_place, c_next, m, n, k, block, part, pieces, blocks, store, activation);

// What of a tile is a share's: of the left operand eight numbers side by side, from this row and step
// on; of the right one four; of the outputs, from this row and column on.
#define A_ROW(share) (left_columns ? share % 16 * 8 : share % ROWS)
#define A_STEP(share) (left_columns ? share / 16 : share / ROWS * 8)
#define B_STEP(share) (right_columns ? share / COLUMNS * 4 : share / 16)
#define B_COLUMN(share) (right_columns ? share % COLUMNS : share % 16 * 4)
#define C_ROW(share) (share / (COLUMNS / EACH_COLUMNS) * EACH_ROWS)
#define C_COLUMN(share) (share % (COLUMNS / EACH_COLUMNS) * EACH_COLUMNS)

INLINE void tile(int images, int left_columns, int right_columns, OF_GROUP float *rows, OF_GROUP float *columns,
                 GLOBAL const float *a, Place a_place, int a_next, GLOBAL const float *b, int b_first, int b_second,
                 int b_next, GLOBAL const float *start, int has_start, GLOBAL float *c, Place c_place, int c_next,
                 int m, int n, int k, int block, int part, int pieces, int blocks, int store, int activation)
{
    int tiles = (m + ROWS - 1) / ROWS;
    int row0 = GROUP(0) % tiles * ROWS, column0 = GROUP(1) * COLUMNS;
    int piece = GROUP(0) / tiles % pieces, which = GROUP(0) / tiles / pieces;
    a += which * a_next;
    b += which * b_next;
    c += which * c_next + piece * m * n;
    // The steps of this piece.
    int from = 0, end = k;
    if (pieces > 1) {
        int first = piece / blocks * part;
        from = first + piece % blocks * block;
        end = part < k - first ? first + part : k;
        if (blocks > 1 && block < end - from)
            end = from + block;
    }
    // Numbers that lie side by side are read and written four at once where they lie at a multiple of
    // four of them.
    int a_vector = a_next % 4 == 0 && (images ? a_place.channels : left_columns ? a_place.second : a_place.first) % 4 == 0;
    int b_vector = b_next % 4 == 0 && (right_columns ? b_second : b_first) % 4 == 0;
    int c_vector = c_next % 4 == 0 && (pieces > 1 ? n : c_place.channels ? c_place.channels : c_place.first) % 4 == 0;

    Count at[READS], tap[READS];
    if (images)
        OF_EACH(READS, own, share)
        {
            at[own] = POSITION_OF(a_place, left_columns ? from + A_STEP(share) : row0 + A_ROW(share));
            tap[own] = TAP_OF(a_place, left_columns ? row0 + A_ROW(share) : from + A_STEP(share));
        }
    F8 chain[OUTPUTS][EACH_ROWS], sum[OUTPUTS][EACH_ROWS];
    OF_EACH(OUTPUTS, own, share)
    {
        ALIGNED float first[EACH_COLUMNS];
        for (int j = 0; j < EACH_COLUMNS; j++) {
            int column = column0 + C_COLUMN(share) + j;
            first[j] = has_start && column < n ? start[column] : 0.0f;
        }
        for (int i = 0; i < EACH_ROWS; i++) {
            chain[own][i] = LOAD8(first);
            sum[own][i] = ALL8(0.0f);
        }
    }
    int first_block = 1, first_part = 1;
    int end_of_part = pieces == 1 && part < end - from ? from + part : end;
    int end_of_block = block < end_of_part - from ? from + block : end_of_part;
    // Once even where there are no steps: then an output is its start.
    do {
        int here = end_of_block - from < STEPS ? end_of_block - from : STEPS;
        int even = from % 4 == 0, a_at_once = a_vector & (left_columns | even), b_at_once = b_vector & (!right_columns | even);
        OF_EACH(READS, own, share)
        {
            for (int quad = 0; quad < 8; quad += 4) {
                float four[4];
                int row = row0 + A_ROW(share), step = A_STEP(share);
                if (left_columns)
                    row += quad;
                else
                    step += quad;
                // Of these four, so many are there.
                int count = left_columns ? m - row : here - step;
                if (left_columns ? step >= here : row >= m)
                    count = 0;
                float other = left_columns && step < here ? 0.0f : OF_LEFT;
                if (!images)
                    side_by_side(a, left_columns ? row + (from + step) * a_place.second : row * a_place.first + from + step,
                                 a_at_once, count, other, four);
                else if (a_at_once) {
                    int place = place_in(a_place, at[own], LATER_TAP(a_place, tap[own], quad));
                    if (place >= 0)
                        side_by_side(a, place, 1, count, other, four);
                    else
                        for (int e = 0; e < 4; e++)
                            four[e] = e < count ? 0.0f : other;
                } else
                    for (int e = 0; e < 4; e++) {
                        int place = e < count ? place_in(a_place, at[own], LATER_TAP(a_place, tap[own], quad + e)) : -1;
                        four[e] = e < count ? place >= 0 ? a[place] : 0.0f : other;
                    }
                for (int e = 0; e < 4; e++)
                    rows[left_columns ? step * ROWS + A_ROW(share) + quad + e : (step + e) * ROWS + A_ROW(share)] = four[e];
            }
            if (images && left_columns)
                at[own] = LATER_POSITION(a_place, at[own], here);
            if (images && !left_columns)
                tap[own] = LATER_TAP(a_place, tap[own], here);

            float four[4];
            int column = column0 + B_COLUMN(share), step = B_STEP(share);
            int count = right_columns ? here - step : n - column;
            if (right_columns ? column >= n : step >= here)
                count = 0;
            side_by_side(b, right_columns ? from + step + column * b_second : (from + step) * b_first + column, b_at_once,
                         count, OF_RIGHT, four);
            for (int e = 0; e < 4; e++)
                columns[right_columns ? (step + e) * COLUMNS + B_COLUMN(share) : step * COLUMNS + B_COLUMN(share) + e] =
                    four[e];
        }
        SYNC;
        OF_EACH(OUTPUTS, own, share)
        {
            if (row0 + C_ROW(share) >= m || column0 + C_COLUMN(share) >= n)
                continue;
            // Compilers of CPUs keep these in registers only if no loop goes over them.
#define TAKEN(i) F8 chain##i = chain[own][i];
#define MULTIPLIED(i) chain##i = FMA8(left[i], right, chain##i);
#define GIVEN_BACK(i) chain[own][i] = chain##i;
            EVERY_ROW(TAKEN)
            EIGHT_AT_ONCE for (int q = 0; q < STEPS; q++) {
                OF_GROUP const float *left = rows + q * ROWS + C_ROW(share);
                F8 right = LOAD8(columns + q * COLUMNS + C_COLUMN(share));
                EVERY_ROW(MULTIPLIED)
            }
            EVERY_ROW(GIVEN_BACK)
        }
        SYNC;
        from += here;
        if (from == end_of_block) {
            OF_EACH(OUTPUTS, own, share)
            for (int i = 0; i < EACH_ROWS; i++) {
                sum[own][i] = first_block ? chain[own][i] : ADD8(sum[own][i], chain[own][i]);
                chain[own][i] = ALL8(0.0f);
            }
            first_block = 0;
            if (from == end_of_part) {
                OF_EACH(OUTPUTS, own, share)
                for (int i = 0; i < EACH_ROWS; i++) {
                    int row = row0 + C_ROW(share) + i, column = column0 + C_COLUMN(share), count = n - column;
                    if (row >= m || column >= n)
                        continue;
                    GLOBAL float *to = c + (pieces > 1 ? row * n + column : place_of(c_place, row, column));
                    int rectifies = from == end && activation == RELU;
                    if (c_vector && count >= EACH_COLUMNS) {
                        F8 value = sum[own][i];
                        if (!first_part || store == ADD)
                            value = ADD8(LOAD8(to), value);
                        else if (store == ZERO_PLUS)
                            value = ADD8(ALL8(0.0f), value);
                        STORE8(rectifies ? RELU8(value) : value, to);
                        continue;
                    }
                    ALIGNED float values[EACH_COLUMNS];
                    STORE8(sum[own][i], values);
                    for (int j = 0; j < EACH_COLUMNS && j < count; j++) {
                        float value = values[j];
                        if (!first_part || store == ADD)
                            value = to[j] + value;
                        else if (store == ZERO_PLUS)
                            value = 0.0f + value;
                        to[j] = rectifies ? activated(RELU, value) : value;
                    }
                }
                // Rare, and a long text.
                if (from == end && activation > RELU)
                    OF_EACH(OUTPUTS, own, share)
                    ONE_BY_ONE for (int e = 0; e < EACH_ROWS * EACH_COLUMNS; e++) {
                        int row = row0 + C_ROW(share) + e / EACH_COLUMNS, column = column0 + C_COLUMN(share) + e % EACH_COLUMNS;
                        if (row < m && column < n) {
                            GLOBAL float *to = c + place_of(c_place, row, column);
                            *to = activated(activation, *to);
                        }
                    }
                first_block = 1;
                first_part = 0;
                end_of_part = end - from < part ? end : from + part;
            }
            end_of_block = end_of_part - from < block ? end_of_part : from + block;
        }
    } while (from < end);
}

// Rows of the left operand, times columns of the right one in rows: layers forward.
KERNEL OF_ITEMS(ITEMS) product_rows(PRODUCT_ARGUMENTS)
{
    PRODUCT(0, 0, 0)
}

// Times columns in columns: gradients of inputs.
KERNEL OF_ITEMS(ITEMS) product_rows_columns(PRODUCT_ARGUMENTS)
{
    PRODUCT(0, 0, 1)
}

// Columns of the left operand: gradients of weights.
KERNEL OF_ITEMS(ITEMS) product_columns(PRODUCT_ARGUMENTS)
{
    PRODUCT(0, 1, 0)
}

// What taps see of images, by positions: convolutions forward, and gradients of their inputs.
KERNEL OF_ITEMS(ITEMS) product_positions(PRODUCT_ARGUMENTS)
{
    PRODUCT(1, 0, 0)
}

// The same, by taps: gradients of their weights.
KERNEL OF_ITEMS(ITEMS) product_taps(PRODUCT_ARGUMENTS)
{
    PRODUCT(1, 1, 0)
}

// to[n] (+)= the sums of pieces[..][n] in order: those of `blocks` that make a part, then parts.
KERNEL add_pieces(GLOBAL const float *pieces, GLOBAL float *to, int all, int n, int count, int blocks, int store)
{
    int i = ELEMENT;
    if (i >= all)
        return;
    pieces += i / n * count * n + i % n;
    float total = 0.0f;
    for (int first = 0; first < count; first += blocks) {
        float sum = pieces[first * n];
        MANY_AT_ONCE for (int block = first + 1; block < first + blocks && block < count; block++)
            sum = sum + pieces[block * n];
        if (first > 0)
            total = total + sum;
        else
            total = store == SET ? sum : store == ZERO_PLUS ? 0.0f + sum : to[i] + sum;
    }
    to[i] = total;
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
        MANY_AT_ONCE for (int row = from; row < end; row++)
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
