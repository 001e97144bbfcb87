// How far an image file may reach here.

/** Host offsets end below 2^53: what a number holds exactly. The format's own limit is 2^56 (LIM-06). */
export const hostOffsetMax = 2 ** 53;
