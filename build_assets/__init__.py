"""What a build adds to the package: country shapes and icons, made from pinned packages and never kept in git."""
