// Ops in which an output depends on one element of each operand
// (numerics/src/kernels/{activation,elementwise,optim}.rs).

KERNEL activate(GLOBAL const float *x, GLOBAL float *y, int n, int activation)
{
    int i = ELEMENT;
    if (i < n)
        y[i] = activated(activation, x[i]);
}

// The gradient of a sum, from that of its activation `v`, as a value added to 0.
INLINE float unactivated(int activation, float v, float d)
{
    if (activation == RELU)
        return 0.0f + (v <= 0.0f ? 0.0f : d);
    if (activation == TANH)
        return 0.0f + d * ((1.0f - v) * (1.0f + v));
    if (activation == SIGMOID)
        return 0.0f + d * (v * (1.0f - v));
    return d;
}

KERNEL unactivate(GLOBAL const float *y, GLOBAL float *dy, int n, int activation)
{
    int i = ELEMENT;
    if (i < n)
        dy[i] = unactivated(activation, y[i], dy[i]);
}

KERNEL add_activated(GLOBAL const float *a, GLOBAL const float *b, GLOBAL float *y, int n, int activation)
{
    int i = ELEMENT;
    if (i < n)
        y[i] = activated(activation, a[i] + b[i]);
}

KERNEL fill(float value, GLOBAL float *to, int n)
{
    int i = ELEMENT;
    if (i < n)
        to[i] = value;
}

KERNEL accumulate(GLOBAL const float *from, GLOBAL float *to, int n)
{
    int i = ELEMENT;
    if (i < n)
        to[i] = to[i] + from[i];
}

KERNEL scaled_add(float scale, GLOBAL const float *x, float keep, GLOBAL float *y, int n)
{
    int i = ELEMENT;
    if (i < n)
        y[i] = FMA(scale, x[i], keep * y[i]);
}

KERNEL average(float rate, GLOBAL const float *x, GLOBAL float *average, int n)
{
    int i = ELEMENT;
    if (i < n)
        average[i] = FMA(rate, x[i] - average[i], average[i]);
}

KERNEL apply_mask(GLOBAL const float *mask, GLOBAL float *values, int n)
{
    int i = ELEMENT;
    if (i < n)
        values[i] = mask[i] == 0.0f ? 0.0f : values[i];
}

KERNEL hold(GLOBAL const float *mask, GLOBAL const float *held, GLOBAL float *values, int n)
{
    int i = ELEMENT;
    if (i < n)
        values[i] = mask[i] == 0.0f ? held[i] : values[i];
}

// y may be x.
KERNEL dropout(float rate, U32 key0, U32 key1, U32 lane0, U32 lane1, GLOBAL const float *x, GLOBAL float *y,
               int n, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float keep = 1.0f / (1.0f - rate);
    float unit = (float)(draw(key0, key1, lane0, lane1, (U32)i) >> 8) * (1.0f / 16777216.0f);
    float value = unit < rate ? 0.0f : x[i] * keep;
    y[i] = store == ZERO_PLUS ? 0.0f + value : value;
}
