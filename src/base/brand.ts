// Brands: numbers and strings that are different things get different types.

declare const brand: unique symbol;

/** A `Value` that only the constructor of its `Name` makes. */
export type Brand<Value, Name extends string> = Value & { readonly [brand]: Name };
