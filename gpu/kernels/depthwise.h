// Depthwise convolutions (numerics/src/kernels/depthwise.rs); w is [kernel_h][kernel_w][channels].

#define WINDOW_ARGUMENTS                                                                                    \
    int n, int height, int width, int channels, int down, int right, int kernel_h, int kernel_w, int stride, \
        int padding

// An item has an element of the output.
KERNEL depthwise(GLOBAL const float *x, GLOBAL const float *w, GLOBAL const float *bias, int has_bias,
                 GLOBAL float *y, WINDOW_ARGUMENTS, int activation)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, column = i / channels % right, row = i / channels / right % down;
    GLOBAL const float *image = x + i / channels / right / down * height * width * channels;
    float sum = has_bias ? bias[channel] : 0.0f;
    for (int kh = 0; kh < kernel_h; kh++)
        for (int kw = 0; kw < kernel_w; kw++) {
            int v = row * stride + kh - padding, u = column * stride + kw - padding;
            if (v >= 0 && v < height && u >= 0 && u < width)
                sum = FMA(image[(v * width + u) * channels + channel], w[(kh * kernel_w + kw) * channels + channel],
                          sum);
        }
    y[i] = activated(activation, sum);
}

// An item has an element of the input, and goes over the taps that meet it, last to first.
KERNEL depthwise_input_gradient(GLOBAL const float *dy, GLOBAL const float *w, GLOBAL float *dx, WINDOW_ARGUMENTS,
                                int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, column = i / channels % width, row = i / channels / width % height;
    GLOBAL const float *outputs = dy + i / channels / width / height * down * right * channels;
    float sum = 0.0f;
    for (int kh = kernel_h - 1; kh >= 0; kh--)
        for (int kw = kernel_w - 1; kw >= 0; kw--) {
            int v = row + padding - kh, u = column + padding - kw;
            if (v >= 0 && v % stride == 0 && v / stride < down && u >= 0 && u % stride == 0 && u / stride < right)
                sum = FMA(outputs[(v / stride * right + u / stride) * channels + channel],
                          w[(kh * kernel_w + kw) * channels + channel], sum);
        }
    dx[i] = (store == ADD ? dx[i] : 0.0f) + sum;
}

// sums[group][kernel_h][kernel_w][channels], of x·dy over the images of a group; `combine` adds them
// up.
KERNEL depthwise_weight_sums(GLOBAL const float *x, GLOBAL const float *dy, GLOBAL float *sums, WINDOW_ARGUMENTS,
                             int images, int step)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, kw = i / channels % kernel_w, kh = i / channels / kernel_w % kernel_h;
    Rows group = rows_of_group(i / channels / kernel_w / kernel_h, images, 1, step);
    float sum = 0.0f;
    for (int image = group.first; image < group.end; image++)
        for (int row = 0; row < down; row++)
            for (int column = 0; column < right; column++) {
                int v = row * stride + kh - padding, u = column * stride + kw - padding;
                if (v >= 0 && v < height && u >= 0 && u < width)
                    sum = FMA(x[((image * height + v) * width + u) * channels + channel],
                              dy[((image * down + row) * right + column) * channels + channel], sum);
            }
    sums[i] = sum;
}
