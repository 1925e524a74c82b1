// What the generated code of a step is written in.
#pragma once
#include "frame.h"
#include "products.h"
#include "vectors.h"
