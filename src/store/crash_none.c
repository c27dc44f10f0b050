/* The product's half of crash.h: no hook at all. */
#include "store/crash.h"

void crash_point(void)
{
}
