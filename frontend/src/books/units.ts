// Prices and sizes as exact integers: 1/100 cent (e4, of a dollar) and 1/100 contract (e2). Pure.

/** A whole dollar, which a YES and a NO are worth together. */
export const DOLLAR_E4 = 10_000;

/** Cents as the stream has them, such as 45.5 or "45.5", to 1/100 cent. */
export function centsToE4(cents: number | string): number {
  return Math.round(Number(cents) * 100);
}

/** Contracts as the stream has them to 1/100 contract. */
export function contractsToE2(contracts: number): number {
  return Math.round(contracts * 100);
}
