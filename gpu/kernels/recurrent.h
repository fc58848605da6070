// Recurrent layers beside their products (numerics/src/kernels/{recurrent,lstm}.rs): images lie in rows
// of a batch, all else by time.

KERNEL copy_piece(GLOBAL const float *from, int from_at, GLOBAL float *to, int to_at, int n)
{
    int i = ELEMENT;
    if (i < n)
        to[to_at + i] = from[from_at + i];
}

// [images][steps][inputs] to [steps][images][inputs].
KERNEL by_time(GLOBAL const float *x, GLOBAL float *rows, int n, int images, int steps, int inputs)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int k = i % inputs, image = i / inputs % images, t = i / inputs / images;
    rows[i] = x[(image * steps + t) * inputs + k];
}

KERNEL from_time(GLOBAL const float *rows, GLOBAL float *dx, int n, int images, int steps, int inputs, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int k = i % inputs, t = i / inputs % steps, image = i / inputs / steps;
    float value = rows[(t * images + image) * inputs + k];
    dx[i] = (store == ADD ? dx[i] : 0.0f) + value;
}

// The cell of a step, from its gates; the first has none before it.
KERNEL lstm_cell(GLOBAL const float *input, GLOBAL const float *forget, GLOBAL const float *cell,
                 GLOBAL const float *output, GLOBAL const float *before, int is_first, GLOBAL float *c,
                 GLOBAL float *squashed, GLOBAL float *h, int n)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float fresh = input[i] * cell[i];
    float now = is_first ? fresh : forget[i] * before[i] + fresh;
    float s = activated(TANH, now);
    c[i] = now;
    squashed[i] = s;
    h[i] = output[i] * s;
}

// The gradients of a step's sums from those of its output and its cell; `dc` becomes that of the cell
// before.
KERNEL lstm_slopes(GLOBAL const float *input, GLOBAL const float *forget, GLOBAL const float *cell,
                   GLOBAL const float *output, GLOBAL const float *before, int is_first,
                   GLOBAL const float *squashed, GLOBAL const float *dh, GLOBAL float *dc, GLOBAL float *of_input,
                   GLOBAL float *of_forget, GLOBAL float *of_cell, GLOBAL float *of_output, int n)
{
    int k = ELEMENT;
    if (k >= n)
        return;
    float i = input[k], f = forget[k], g = cell[k], o = output[k], s = squashed[k];
    float d = dc[k] + unactivated(TANH, s, dh[k] * o);
    float earlier = is_first ? 0.0f : before[k];
    of_input[k] = unactivated(SIGMOID, i, d * g);
    of_forget[k] = unactivated(SIGMOID, f, d * earlier);
    of_cell[k] = unactivated(TANH, g, d * i);
    of_output[k] = unactivated(SIGMOID, o, dh[k] * s);
    dc[k] = d * f;
}
