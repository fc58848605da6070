// Losses (numerics/src/kernels/{loss,soft_loss,squared_error}.rs). An item has a row; the host adds
// the rows' losses up in order.

// Writes the softmax of a row, returns its largest logit; `ln` gets that of the sum.
INLINE float softmax(GLOBAL const float *logits, GLOBAL float *p, int classes, float *ln)
{
    float largest = logits[0];
    for (int k = 0; k < classes; k++) {
        float l = logits[k];
        largest = l > largest || l != l ? l : largest;
    }
    float sum = 0.0f;
    for (int k = 0; k < classes; k++) {
        p[k] = exp_f32(logits[k] - largest);
        sum = sum + p[k];
    }
    for (int k = 0; k < classes; k++)
        p[k] = p[k] / sum;
    *ln = ln_f32(sum);
    return largest;
}

KERNEL cross_entropy(GLOBAL const float *logits, GLOBAL const U32 *labels, GLOBAL float *probabilities,
                     GLOBAL float *losses, int rows, int classes, float smoothing)
{
    int row = ELEMENT;
    if (row >= rows)
        return;
    logits += row * classes;
    float ln;
    float largest = softmax(logits, probabilities + row * classes, classes, &ln);
    float of_label = -((logits[labels[row]] - largest) - ln);
    float loss = of_label;
    if (smoothing != 0.0f) {
        float all = 0.0f;
        for (int k = 0; k < classes; k++)
            all = all + -((logits[k] - largest) - ln);
        loss = (1.0f - smoothing) * of_label + smoothing / (float)classes * all;
    }
    losses[row] = loss;
}

KERNEL cross_entropy_gradient(GLOBAL const float *probabilities, GLOBAL const U32 *labels, GLOBAL float *to,
                              int n, int classes, float elsewhere, float there, float scale, int store)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    float target = (U32)(i % classes) == labels[i / classes] ? there : elsewhere;
    to[i] = (store == ADD ? to[i] : 0.0f) + (probabilities[i] - target) * scale;
}

// 1 where the largest logit is at the label: the first of equal ones; a row with a NaN is wrong.
KERNEL right_answers(GLOBAL const float *logits, GLOBAL const U32 *labels, GLOBAL float *right, int rows, int classes)
{
    int row = ELEMENT;
    if (row >= rows)
        return;
    logits += row * classes;
    int best = 0, is_number = 1;
    for (int k = 0; k < classes; k++) {
        float l = logits[k];
        best = l > logits[best] ? k : best;
        is_number = l == l ? is_number : 0;
    }
    right[row] = is_number && (U32)best == labels[row] ? 1.0f : 0.0f;
}

KERNEL soft_cross_entropy(GLOBAL const float *logits, GLOBAL const float *targets, GLOBAL float *probabilities,
                          GLOBAL float *losses, int rows, int classes)
{
    int row = ELEMENT;
    if (row >= rows)
        return;
    logits += row * classes;
    targets += row * classes;
    float ln;
    float largest = softmax(logits, probabilities + row * classes, classes, &ln);
    float loss = 0.0f;
    for (int k = 0; k < classes; k++)
        loss = FMA(targets[k], -((logits[k] - largest) - ln), loss);
    losses[row] = loss;
}

KERNEL soft_cross_entropy_gradient(GLOBAL const float *probabilities, GLOBAL const float *targets,
                                   GLOBAL float *to, int rows, int classes, float scale, int store)
{
    int row = ELEMENT;
    if (row >= rows)
        return;
    probabilities += row * classes;
    targets += row * classes;
    to += row * classes;
    float sum = 0.0f;
    for (int k = 0; k < classes; k++)
        sum = sum + targets[k];
    for (int k = 0; k < classes; k++)
        to[k] = (store == ADD ? to[k] : 0.0f) + (probabilities[k] * sum - targets[k]) * scale;
}

KERNEL squared_error(GLOBAL const float *outputs, GLOBAL const float *targets, GLOBAL float *errors, int rows,
                     int width)
{
    int row = ELEMENT;
    if (row >= rows)
        return;
    float error = 0.0f;
    for (int k = 0; k < width; k++) {
        float d = outputs[row * width + k] - targets[row * width + k];
        error = FMA(d, d, error);
    }
    errors[row] = error;
}

KERNEL squared_error_gradient(GLOBAL const float *outputs, GLOBAL const float *targets, GLOBAL float *to, int n,
                              float scale, int store)
{
    int i = ELEMENT;
    if (i < n)
        to[i] = (store == ADD ? to[i] : 0.0f) + (outputs[i] - targets[i]) * scale;
}
