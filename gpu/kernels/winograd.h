// The transforms of Winograd's convolutions (numerics/src/kernels/conv/winograd.rs). An item has a
// tile and LANES channels of it, or a pair of channels; frequency f of tile or input t lies at
// f·(all t)·width + t·width.

// Position (y, x) of an image from this channel on, or zeros outside of it.
INLINE Lanes at(GLOBAL const float *image, int height, int width, int channels, int channel, int y, int x)
{
    if (y < 0 || y >= height || x < 0 || x >= width)
        return ALL(0.0f);
    return LOAD(image + (y * width + x) * channels + channel);
}

// v[16][tiles][channels]: the 4×4 positions around each tile.
KERNEL winograd_input(GLOBAL const float *x, GLOBAL float *v, int n, int height, int width, int channels, int down,
                      int right, int first_image)
{
    int i = ELEMENT * LANES;
    if (i >= n)
        return;
    int channel = i % channels, tile = i / channels;
    int column = tile % right * 2 - 1, row = tile / right % down * 2 - 1;
    GLOBAL const float *image = x + (first_image + tile / right / down) * height * width * channels;
    Lanes half_way[4][4];
    for (int j = 0; j < 4; j++) {
        Lanes d0 = at(image, height, width, channels, channel, row, column + j);
        Lanes d1 = at(image, height, width, channels, channel, row + 1, column + j);
        Lanes d2 = at(image, height, width, channels, channel, row + 2, column + j);
        Lanes d3 = at(image, height, width, channels, channel, row + 3, column + j);
        half_way[0][j] = d0 - d2;
        half_way[1][j] = d1 + d2;
        half_way[2][j] = d2 - d1;
        half_way[3][j] = d1 - d3;
    }
    for (int r = 0; r < 4; r++) {
        Lanes d0 = half_way[r][0], d1 = half_way[r][1], d2 = half_way[r][2], d3 = half_way[r][3];
        STORE(d0 - d2, v + (r * 4 + 0) * n + i);
        STORE(d1 + d2, v + (r * 4 + 1) * n + i);
        STORE(d2 - d1, v + (r * 4 + 2) * n + i);
        STORE(d1 - d3, v + (r * 4 + 3) * n + i);
    }
}

// e[16][tiles][channels]: the 2×2 gradients of each tile's outputs.
KERNEL winograd_gradient(GLOBAL const float *dy, GLOBAL float *e, int n, int height, int width, int channels, int down,
                         int right, int first_image)
{
    int i = ELEMENT * LANES;
    if (i >= n)
        return;
    int channel = i % channels, tile = i / channels;
    int column = tile % right * 2, row = tile / right % down * 2;
    GLOBAL const float *image = dy + (first_image + tile / right / down) * height * width * channels;
    Lanes half_way[4][2];
    for (int j = 0; j < 2; j++) {
        Lanes e0 = at(image, height, width, channels, channel, row, column + j);
        Lanes e1 = at(image, height, width, channels, channel, row + 1, column + j);
        half_way[0][j] = e0;
        half_way[1][j] = e0 + e1;
        half_way[2][j] = e0 - e1;
        half_way[3][j] = -e1;
    }
    for (int r = 0; r < 4; r++) {
        Lanes e0 = half_way[r][0], e1 = half_way[r][1];
        STORE(e0, e + (r * 4 + 0) * n + i);
        STORE(e0 + e1, e + (r * 4 + 1) * n + i);
        STORE(e0 - e1, e + (r * 4 + 2) * n + i);
        STORE(-e1, e + (r * 4 + 3) * n + i);
    }
}

// u[16][inputs][outputs] of w[9][inputs][outputs]. Of the gradient of the input: with the taps in
// reverse order, inputs and outputs exchanged, so that w is [9][outputs][inputs].
KERNEL winograd_weights(GLOBAL const float *w, GLOBAL float *u, int n, int inputs, int outputs, int exchanged)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int input = i / outputs, output = i % outputs;
    int place = exchanged ? output * inputs + input : i;
    float half_way[4][3];
    for (int j = 0; j < 3; j++) {
        float g0 = w[(exchanged ? 8 - j : j) * n + place];
        float g1 = w[(exchanged ? 5 - j : 3 + j) * n + place];
        float g2 = w[(exchanged ? 2 - j : 6 + j) * n + place];
        float s = 0.5f * (g0 + g2), h = 0.5f * g1;
        half_way[0][j] = g0;
        half_way[1][j] = s + h;
        half_way[2][j] = s - h;
        half_way[3][j] = g2;
    }
    for (int r = 0; r < 4; r++) {
        float g0 = half_way[r][0], g1 = half_way[r][1], g2 = half_way[r][2];
        float s = 0.5f * (g0 + g2), h = 0.5f * g1;
        u[(r * 4 + 0) * n + i] = g0;
        u[(r * 4 + 1) * n + i] = s + h;
        u[(r * 4 + 2) * n + i] = s - h;
        u[(r * 4 + 3) * n + i] = g2;
    }
}

// y from the products m[16][tiles][channels].
KERNEL winograd_output(GLOBAL const float *m, GLOBAL const float *bias, int has_bias, GLOBAL float *y, int n,
                       int height, int width, int channels, int down, int right, int first_image, int store,
                       int activation)
{
    int i = ELEMENT * LANES;
    if (i >= n)
        return;
    int channel = i % channels, tile = i / channels;
    int column = tile % right * 2, row = tile / right % down * 2;
    GLOBAL float *image = y + (first_image + tile / right / down) * height * width * channels;
    Lanes half_way[2][4], b = has_bias ? LOAD(bias + channel) : ALL(0.0f);
    for (int j = 0; j < 4; j++) {
        Lanes m0 = LOAD(m + j * n + i), m1 = LOAD(m + (4 + j) * n + i);
        Lanes m2 = LOAD(m + (8 + j) * n + i), m3 = LOAD(m + (12 + j) * n + i);
        half_way[0][j] = (m0 + m1) + m2;
        half_way[1][j] = (m1 - m2) - m3;
    }
    for (int r = 0; r < 2; r++) {
        Lanes m0 = half_way[r][0], m1 = half_way[r][1], m2 = half_way[r][2], m3 = half_way[r][3];
        Lanes values[2];
        values[0] = (m0 + m1) + m2;
        values[1] = (m1 - m2) - m3;
        for (int j = 0; j < 2; j++)
            if (row + r < height && column + j < width) {
                GLOBAL float *to = image + ((row + r) * width + column + j) * channels + channel;
                Lanes value = values[j] + b;
                if (store == ZERO_PLUS)
                    value = 0.0f + value;
                if (store == ADD)
                    value = LOAD(to) + value;
                STORE(all_activated(activation, value), to);
            }
    }
}

// The gradient of w[9][inputs·outputs] from the sums u[16][inputs·outputs].
KERNEL winograd_weight_gradient(GLOBAL const float *u, GLOBAL float *dw, int n, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float half_way[3][4];
    for (int j = 0; j < 4; j++) {
        float u0 = u[j * n + i], u1 = u[(4 + j) * n + i], u2 = u[(8 + j) * n + i], u3 = u[(12 + j) * n + i];
        float t = 0.5f * (u1 + u2);
        half_way[0][j] = u0 + t;
        half_way[1][j] = 0.5f * (u1 - u2);
        half_way[2][j] = t + u3;
    }
    for (int r = 0; r < 3; r++) {
        float u0 = half_way[r][0], u1 = half_way[r][1], u2 = half_way[r][2], u3 = half_way[r][3];
        float t = 0.5f * (u1 + u2), values[3];
        values[0] = u0 + t;
        values[1] = 0.5f * (u1 - u2);
        values[2] = t + u3;
        for (int j = 0; j < 3; j++) {
            int place = (r * 3 + j) * n + i;
            dw[place] = (store == ADD ? dw[place] : 0.0f) + values[j];
        }
    }
}
