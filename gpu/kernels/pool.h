// Pooling (numerics/src/kernels/pool.rs). A window is the part of it that lies in the image.

typedef struct {
    int first, end;
} Part;

INLINE Part part_of_window(int at, int size, int kernel_size, int stride, int padding)
{
    Part part;
    part.first = at * stride - padding;
    part.end = part.first + kernel_size < size ? part.first + kernel_size : size;
    part.first = part.first > 0 ? part.first : 0;
    return part;
}

// The windows that a position lies in.
INLINE Part windows_of(int position, int windows, int kernel_size, int stride, int padding)
{
    Part part;
    int first = position + padding - kernel_size + 1;
    part.first = first > 0 ? (first + stride - 1) / stride : 0;
    part.end = (position + padding) / stride + 1;
    part.end = part.end < windows ? part.end : windows;
    return part;
}

// The place of the largest value of a window: the first of equal ones, the last NaN.
INLINE int winner_of(GLOBAL const float *image, Part rows, Part columns, int width, int channels, int channel)
{
    int winner = (rows.first * width + columns.first) * channels + channel;
    float best = image[winner];
    for (int y = rows.first; y < rows.end; y++)
        for (int x = columns.first; x < columns.end; x++) {
            int at = (y * width + x) * channels + channel;
            float value = image[at];
            int wins = value > best || value != value;
            best = wins ? value : best;
            winner = wins ? at : winner;
        }
    return winner;
}

#define POOL_ARGUMENTS                                                                                      \
    int n, int height, int width, int channels, int down, int right, int kernel_h, int kernel_w, int stride_h, \
        int stride_w, int padding

KERNEL max_pool(GLOBAL const float *x, GLOBAL float *y, POOL_ARGUMENTS)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, column = i / channels % right, row = i / channels / right % down;
    GLOBAL const float *image = x + i / channels / right / down * height * width * channels;
    Part rows = part_of_window(row, height, kernel_h, stride_h, padding);
    Part columns = part_of_window(column, width, kernel_w, stride_w, padding);
    y[i] = image[winner_of(image, rows, columns, width, channels, channel)];
}

KERNEL avg_pool(GLOBAL const float *x, GLOBAL float *y, POOL_ARGUMENTS)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, column = i / channels % right, row = i / channels / right % down;
    GLOBAL const float *image = x + i / channels / right / down * height * width * channels;
    Part rows = part_of_window(row, height, kernel_h, stride_h, padding);
    Part columns = part_of_window(column, width, kernel_w, stride_w, padding);
    float sum = 0.0f;
    for (int v = rows.first; v < rows.end; v++)
        for (int u = columns.first; u < columns.end; u++)
            sum = sum + image[(v * width + u) * channels + channel];
    y[i] = sum / (float)(kernel_h * kernel_w);
}

// An item has an element of the image, and takes from the windows that it lies in, in their order.
KERNEL max_pool_gradient(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL float *dx, POOL_ARGUMENTS, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int features = height * width * channels, here = i % features;
    int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
    GLOBAL const float *image = x + i / features * features;
    GLOBAL const float *outputs = dy + i / features * down * right * channels;
    Part over = windows_of(row, down, kernel_h, stride_h, padding);
    Part along = windows_of(column, right, kernel_w, stride_w, padding);
    float sum = store == ADD ? dx[i] : 0.0f;
    for (int v = over.first; v < over.end; v++)
        for (int u = along.first; u < along.end; u++) {
            Part rows = part_of_window(v, height, kernel_h, stride_h, padding);
            Part columns = part_of_window(u, width, kernel_w, stride_w, padding);
            if (winner_of(image, rows, columns, width, channels, channel) == here)
                sum = sum + outputs[(v * right + u) * channels + channel];
        }
    dx[i] = sum;
}

// The same where no two windows overlap: an item has a window, and adds to its winner.
KERNEL max_pool_gradient_apart(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL float *dx, POOL_ARGUMENTS)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, column = i / channels % right, row = i / channels / right % down;
    int image = i / channels / right / down * height * width * channels;
    Part rows = part_of_window(row, height, kernel_h, stride_h, padding);
    Part columns = part_of_window(column, width, kernel_w, stride_w, padding);
    int winner = image + winner_of(x + image, rows, columns, width, channels, channel);
    dx[winner] = dx[winner] + dy[i];
}

KERNEL avg_pool_gradient(GLOBAL const float *dy, GLOBAL float *dx, POOL_ARGUMENTS, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int features = height * width * channels;
    int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
    GLOBAL const float *outputs = dy + i / features * down * right * channels;
    Part over = windows_of(row, down, kernel_h, stride_h, padding);
    Part along = windows_of(column, right, kernel_w, stride_w, padding);
    float sum = store == ADD ? dx[i] : 0.0f, area = (float)(kernel_h * kernel_w);
    for (int v = over.first; v < over.end; v++)
        for (int u = along.first; u < along.end; u++)
            sum = sum + outputs[(v * right + u) * channels + channel] / area;
    dx[i] = sum;
}
