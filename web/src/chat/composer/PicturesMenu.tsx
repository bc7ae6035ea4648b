import { preferences, prefer } from "../../app/preferences";
import { Icon } from "../../ui/Icon";
import { Menu } from "../../ui/Menu";
import { t } from "../words";

const NUMBERS = [1, 2, 3, 4]; // the platform draws no more in one answer

/** How many pictures a model that draws gives. */
export function PicturesMenu() {
  const { pictures } = preferences.value;
  const entries = () => NUMBERS.map((number) => ({ label: t.value.pictures(number), checked: pictures === number, run: () => prefer({ pictures: number }) }));
  return (
    <Menu label={t.value.howManyPictures} class="quiet word wished on" entries={entries} above>
      <Icon name="image" />
      <span>{pictures}</span>
    </Menu>
  );
}
