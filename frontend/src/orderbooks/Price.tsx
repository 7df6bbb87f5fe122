// A price whose decimal point stands below the one above it.
import { formatCents, NOTHING } from "../shared/format";

export function Price({ e4 }: { readonly e4: number | null }) {
  const [whole = NOTHING, fraction] = formatCents(e4).split(".");
  return (
    <span className="price">
      {whole}
      <span className="price-fraction">{fraction === undefined ? "" : `.${fraction}`}</span>
    </span>
  );
}
