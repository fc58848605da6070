// Sums per channel over a batch (numerics/src/kernels/{shard,sums}.rs), and batch norm (norm.rs).
//
// A batch is cut into shards of SHARD images and these into groups of `step` images; a group's rows
// (image, position) are cut into blocks of BLOCK_ROWS, each a chain from 0, that are added up in order
// from 0. A group's sum is one item's.
#define SHARD 32
#define BLOCK_ROWS 32

typedef struct {
    int first, end;
} Rows;

INLINE Rows rows_of_group(int group, int images, int positions, int step)
{
    int per_shard = (SHARD + step - 1) / step, shard = group / per_shard * SHARD;
    int first = group % per_shard * step, end = first + step < SHARD ? first + step : SHARD;
    Rows rows;
    rows.first = (shard + first < images ? shard + first : images) * positions;
    rows.end = (shard + end < images ? shard + end : images) * positions;
    return rows;
}

// sums[group][channels], of all x.
KERNEL group_sums(GLOBAL const float *x, GLOBAL float *sums, int groups, int channels, int images, int positions,
                  int step)
{
    int group = ELEMENT / channels, channel = ELEMENT % channels;
    if (group >= groups)
        return;
    Rows rows = rows_of_group(group, images, positions, step);
    float total = 0.0f;
    for (int from = rows.first; from < rows.end; from += BLOCK_ROWS) {
        int end = from + BLOCK_ROWS < rows.end ? from + BLOCK_ROWS : rows.end;
        float sum = 0.0f;
        MANY_AT_ONCE for (int row = from; row < end; row++)
            sum = sum + x[row * channels + channel];
        total = total + sum;
    }
    sums[group * channels + channel] = total;
}

// sums[group][channels], of (x - mean)².
KERNEL group_squares(GLOBAL const float *x, GLOBAL const float *mean, GLOBAL float *sums, int groups, int channels,
                     int images, int positions, int step)
{
    int group = ELEMENT / channels, channel = ELEMENT % channels;
    if (group >= groups)
        return;
    Rows rows = rows_of_group(group, images, positions, step);
    float total = 0.0f, middle = mean[channel];
    for (int from = rows.first; from < rows.end; from += BLOCK_ROWS) {
        int end = from + BLOCK_ROWS < rows.end ? from + BLOCK_ROWS : rows.end;
        float sum = 0.0f;
        MANY_AT_ONCE for (int row = from; row < end; row++) {
            float d = x[row * channels + channel] - middle;
            sum = FMA(d, d, sum);
        }
        total = total + sum;
    }
    sums[group * channels + channel] = total;
}

INLINE float inverse_deviation(float variance, float eps)
{
    return 1.0f / SQRT(variance + eps);
}

// sums[group][channels], of dy·xhat.
KERNEL group_products(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL const float *mean,
                      GLOBAL const float *variance, float eps, GLOBAL float *sums, int groups, int channels,
                      int images, int positions, int step)
{
    int group = ELEMENT / channels, channel = ELEMENT % channels;
    if (group >= groups)
        return;
    Rows rows = rows_of_group(group, images, positions, step);
    float total = 0.0f, middle = mean[channel], r = inverse_deviation(variance[channel], eps);
    for (int from = rows.first; from < rows.end; from += BLOCK_ROWS) {
        int end = from + BLOCK_ROWS < rows.end ? from + BLOCK_ROWS : rows.end;
        float sum = 0.0f;
        MANY_AT_ONCE for (int row = from; row < end; row++) {
            int at = row * channels + channel;
            sum = FMA(dy[at], (x[at] - middle) * r, sum);
        }
        total = total + sum;
    }
    sums[group * channels + channel] = total;
}

// Adds the groups of each shard up in order, then the shards; stores the sum divided by `count` as
// `store` says.
KERNEL combine(GLOBAL const float *sums, GLOBAL float *to, int groups, int channels, int step, int divide, float count,
               int store)
{
    int channel = ELEMENT;
    if (channel >= channels)
        return;
    int per_shard = (SHARD + step - 1) / step;
    float total = 0.0f;
    for (int first = 0; first < groups; first += per_shard) {
        float shard = sums[first * channels + channel];
        MANY_AT_ONCE for (int group = first + 1; group < first + per_shard && group < groups; group++)
            shard = shard + sums[group * channels + channel];
        total = first == 0 ? shard : total + shard;
    }
    if (divide)
        total = total / count;
    if (store == ZERO_PLUS)
        total = 0.0f + total;
    if (store == ADD)
        total = to[channel] + total;
    to[channel] = total;
}

KERNEL batch_norm(GLOBAL const float *x, GLOBAL const float *mean, GLOBAL const float *variance,
                 GLOBAL const float *gamma, GLOBAL const float *beta, GLOBAL float *y, int n, int channels, float eps,
                 int activation)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels;
    float r = inverse_deviation(variance[channel], eps);
    y[i] = activated(activation, FMA((x[i] - mean[channel]) * r, gamma[channel], beta[channel]));
}

// dy becomes the gradient of the input; g and b are the means of dy·xhat and dy, where gradients flow
// through the statistics.
KERNEL batch_norm_gradient(GLOBAL const float *x, GLOBAL const float *mean, GLOBAL const float *variance,
                   GLOBAL const float *gamma, GLOBAL const float *g, GLOBAL const float *b, GLOBAL float *dy, int n,
                   int channels, float eps, int through)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels;
    float r = inverse_deviation(variance[channel], eps);
    float scale = gamma[channel] * r;
    float d = dy[i];
    if (through)
        d = d - FMA((x[i] - mean[channel]) * r, g[channel], b[channel]);
    dy[i] = 0.0f + scale * d;
}
