// Group norm and layer norm (numerics/src/kernels/group_norm.rs): statistics of an image's own
// values. Those of an image and channel are chains over positions; those of a group are added up in
// SUM_LANES.
#define SUM_LANES 16

// What has a channel of an image: its group's number in [images][groups].
INLINE int group_of(int image, int channel, int channels, int groups)
{
    return image * groups + channel / (channels / groups);
}

// sums[image][channels], of x; with a mean, of (x - mean)².
KERNEL image_sums(GLOBAL const float *x, GLOBAL const float *mean, int has_mean, GLOBAL float *sums, int n,
                  int channels, int groups, int positions)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int image = i / channels, channel = i % channels;
    GLOBAL const float *values = x + image * positions * channels + channel;
    float middle = has_mean ? mean[group_of(image, channel, channels, groups)] : 0.0f;
    float sum = 0.0f;
    MANY_AT_ONCE for (int position = 0; position < positions; position++) {
        float value = values[position * channels];
        if (has_mean) {
            float d = value - middle;
            sum = FMA(d, d, sum);
        } else {
            sum = sum + value;
        }
    }
    sums[i] = sum;
}

// b[image][channels] and g, of dy and dy·xhat, each times gamma.
KERNEL image_products(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL const float *mean, GLOBAL const float *r,
                      GLOBAL const float *gamma, GLOBAL float *b, GLOBAL float *g, int n, int channels, int groups,
                      int positions)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int image = i / channels, channel = i % channels;
    int group = group_of(image, channel, channels, groups), first = image * positions * channels + channel;
    float middle = mean[group], inverse = r[group], of_b = 0.0f, of_g = 0.0f;
    MANY_AT_ONCE for (int position = 0; position < positions; position++) {
        int at = first + position * channels;
        of_b = of_b + dy[at];
        of_g = FMA(dy[at], (x[at] - middle) * inverse, of_g);
    }
    b[i] = of_b * gamma[channel];
    g[i] = of_g * gamma[channel];
}

// to[n], each of `size` sums: their group sum over `count`, or from that 1/sqrt(· + eps).
KERNEL group_statistic(GLOBAL const float *sums, GLOBAL float *to, int n, int size, float count, int deviation,
                       float eps)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    sums += i * size;
    float lanes[SUM_LANES];
    for (int l = 0; l < SUM_LANES; l++)
        lanes[l] = 0.0f;
    for (int j = 0; j < size; j++)
        lanes[j % SUM_LANES] = lanes[j % SUM_LANES] + sums[j];
    for (int half_of = SUM_LANES / 2; half_of > 0; half_of /= 2)
        for (int l = 0; l < half_of; l++)
            lanes[l] = lanes[l] + lanes[l + half_of];
    float value = lanes[0] / count;
    to[i] = deviation ? inverse_deviation(value, eps) : value;
}

KERNEL group_norm(GLOBAL const float *x, GLOBAL const float *mean, GLOBAL const float *r, GLOBAL const float *gamma,
                  GLOBAL const float *beta, GLOBAL float *y, int n, int channels, int groups, int positions)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, group = group_of(i / channels / positions, channel, channels, groups);
    y[i] = FMA((x[i] - mean[group]) * r[group], gamma[channel], beta[channel]);
}

// dy becomes the gradient of the input; s and t are the group's means of gamma·dy and
// gamma·dy·xhat.
KERNEL group_norm_gradient(GLOBAL const float *x, GLOBAL const float *mean, GLOBAL const float *r,
                           GLOBAL const float *gamma, GLOBAL const float *s, GLOBAL const float *t, GLOBAL float *dy,
                           int n, int channels, int groups, int positions)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, group = group_of(i / channels / positions, channel, channels, groups);
    float xhat = (x[i] - mean[group]) * r[group];
    dy[i] = 0.0f + r[group] * (gamma[channel] * dy[i] - FMA(xhat, t[group], s[group]));
}

// b[set][channels] and g, of dy and dy·xhat over a set of images that norm.h calls a group;
// `combine` adds them up. Blocks begin anew with each image.
KERNEL group_norm_sums(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL const float *mean, GLOBAL const float *r,
                       GLOBAL float *b, GLOBAL float *g, int n, int channels, int groups, int positions, int images,
                       int step)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels;
    Rows set = rows_of_group(i / channels, images, 1, step);
    float total_b = 0.0f, total_g = 0.0f;
    for (int image = set.first; image < set.end; image++) {
        int group = group_of(image, channel, channels, groups), first = image * positions * channels + channel;
        float middle = mean[group], inverse = r[group];
        for (int from = 0; from < positions; from += BLOCK_ROWS) {
            int end = from + BLOCK_ROWS < positions ? from + BLOCK_ROWS : positions;
            float of_b = 0.0f, of_g = 0.0f;
            for (int position = from; position < end; position++) {
                int at = first + position * channels;
                of_b = of_b + dy[at];
                of_g = FMA(dy[at], (x[at] - middle) * inverse, of_g);
            }
            total_b = total_b + of_b;
            total_g = total_g + of_g;
        }
    }
    b[i] = total_b;
    g[i] = total_g;
}
