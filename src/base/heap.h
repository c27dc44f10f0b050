/* What this process has freed and still holds. */
#ifndef PHR_BASE_HEAP_H
#define PHR_BASE_HEAP_H

/*
 * Gives free memory back to the kernel, where it is much: between what stays, free() keeps all that a
 * burst of work has used. For a moment when there is nothing else to do: malloc waits meanwhile.
 */
void heap_trim(void);

#endif
